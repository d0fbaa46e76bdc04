"""Archives of images, read without unpacking: each lists what a folder would, one file a format."""
