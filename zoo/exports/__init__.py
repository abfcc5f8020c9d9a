"""SavedModels that a server can answer from: writing, finding and checking them."""
