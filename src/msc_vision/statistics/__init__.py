"""Roll-up of fields to layers and vessels, and validation of masks against truth."""
