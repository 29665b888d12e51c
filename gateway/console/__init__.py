"""The console: pages for people, over what the API says."""
