"""Workers on machines rented from Hugging Face: Jobs and Spaces, for every provider that has a worker."""
