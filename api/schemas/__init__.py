"""What goes in and out, by resource. These models check and describe; they do nothing."""
