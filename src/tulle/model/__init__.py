"""Values: what tulle knows, as frozen data.  Nothing here decodes, decides, logs or opens anything."""
