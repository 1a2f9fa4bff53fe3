"""Live cameras: connections that are kept up, scores as pictures come, alerts that are raised once and never lost."""
