"""DHgate (敦煌网): disputes, order care and in-site mail over the DOP router."""
