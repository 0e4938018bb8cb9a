"""Looking at pictures: galleries, histograms, thresholds, maps, look-alikes, and the report."""
