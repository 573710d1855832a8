"""The order state machine, the journal written before the send, the executor and the resolver."""
