"""What a flow is: pure values, no I/O."""
