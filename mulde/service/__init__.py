"""What a browser and programs can ask of a run: its page, its alerts, its cameras."""
