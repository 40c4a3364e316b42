"""What is measured on: farms, their databases and servers."""
