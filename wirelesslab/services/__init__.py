"""The hall: services in which the wings meet."""
