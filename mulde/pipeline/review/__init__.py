"""What people look at and answer: overlay, report, feedback, audit."""
