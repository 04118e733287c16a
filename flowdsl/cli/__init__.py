"""flowdsl."""
