"""What a route is given, in three kinds, and what runs for it: Flask's view, callbacks, coroutines."""
