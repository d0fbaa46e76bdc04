"""Files of images and of label maps → arrays."""
