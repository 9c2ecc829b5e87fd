"""What a run is: its folder, identity, lock, status, and how its model is read back."""
