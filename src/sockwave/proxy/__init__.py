"""Who stands in front of us: proxies that are believed, and what they tell."""
