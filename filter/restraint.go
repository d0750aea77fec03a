package filter

import (
	"cmp"
	"os"

	"postmend/filter/confine"
	"postmend/reinject"
	"postmend/srs/store"
)

// Needs are what a filter with this configuration needs of the system; ok is false if nothing can be taken
// from it. tempDir is the system's temporary directory, as the filter sees it.
func (c *Config) Needs(tempDir string) (needs confine.Needs, ok bool) {
	target, err := reinject.ParseTarget(c.Reinject.Target)
	if err != nil {
		return confine.Needs{}, false
	}
	spoolDir := cmp.Or(c.Limits.SpoolDir, tempDir)
	needs, ok = confine.NeedsOf(target, c.Resolver, spoolDir, len(c.LocalDomainsMaps) > 0)
	if location, err := store.Parse(c.SRS.Store); err == nil && c.SRS.Domain != "" {
		needs.AlsoStore(location.Dir, location.Port)
	}
	return needs, ok
}

// Confine gives up for good all permissions that this filter does not need. It is for a process that does
// nothing else.
func (f *Filter) Confine() error {
	needs, ok := f.config.Needs(os.TempDir())
	if !ok {
		return nil
	}
	if needs.StoreDir != "" {
		_ = store.Prepare(needs.StoreDir) // it cannot be made later; whoever needs it tells why it is missing
	}
	return confine.Apply(needs)
}
