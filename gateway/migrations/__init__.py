"""Schema migrations, oldest first; a landed one is never edited."""
