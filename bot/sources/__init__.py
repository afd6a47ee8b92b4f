"""What is known of markets from elsewhere than an exchange that answers: files, tables, inference."""
