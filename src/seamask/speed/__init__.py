"""How fast a step is, where its time goes, and how far it is from what its arithmetic costs."""
