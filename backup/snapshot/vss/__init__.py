"""Shadow copies of Windows volumes: by Volume Shadow Copy Service in a helper process, or by WMI."""
