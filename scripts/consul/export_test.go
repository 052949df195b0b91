package consul

// WriteConfig is for the tests of what it writes.
func (o Options) WriteConfig(dir string) error { return o.withDefaults().writeConfig(dir) }

// BuildOnce is Binary's way to its cache.
var BuildOnce = buildOnce
