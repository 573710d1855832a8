"""What a run leaves behind, and the same run again."""
