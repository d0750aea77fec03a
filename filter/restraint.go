package filter

import (
	"cmp"
	"os"

	"postmend/filter/confine"
	"postmend/reinject"
)

// Needs are what a filter with this configuration needs of the system; ok is false if nothing can be taken
// from it. tempDir is the system's temporary directory, as the filter sees it.
func (c *Config) Needs(tempDir string) (needs confine.Needs, ok bool) {
	target, err := reinject.ParseTarget(c.Reinject.Target)
	if err != nil {
		return confine.Needs{}, false
	}
	spoolDir := cmp.Or(c.Limits.SpoolDir, tempDir)
	return confine.NeedsOf(target, c.Resolver, spoolDir, len(c.LocalDomainsMaps) > 0)
}

// Confine gives up for good all permissions that this filter does not need. It is for a process that does
// nothing else.
func (f *Filter) Confine() error {
	needs, ok := f.config.Needs(os.TempDir())
	if !ok {
		return nil
	}
	return confine.Apply(needs)
}
