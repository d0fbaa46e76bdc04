"""Images packed once, memory-mapped, and batches of them on a device."""
