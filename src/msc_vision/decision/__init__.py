"""From evidence to a traceable verdict: rule sets, judgement, decision records."""
