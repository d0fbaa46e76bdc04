"""A run's folder, or several, as one HTML page. It reads files and computes nothing of weights."""
