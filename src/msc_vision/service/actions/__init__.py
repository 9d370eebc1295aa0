"""What can be done with the service, for JSON routes and pages alike: who may do what is decided here."""
