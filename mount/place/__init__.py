"""Mount points: validation, what is mounted there, unmounting."""
