"""What people read: values in, values and text out; nothing here prints."""
