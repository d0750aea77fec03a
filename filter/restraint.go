package filter

import (
	"cmp"
	"os"

	"postmend/filter/confine"
)

// Confine takes from the process, for good, what the work of this filter does not need. It is for a process that does nothing else.
func (f *Filter) Confine() error {
	spoolDir := cmp.Or(f.config.Limits.SpoolDir, os.TempDir())
	needs, ok := confine.NeedsOf(f.config.Reinject.Target, f.config.Resolver, spoolDir, len(f.config.LocalDomainsMaps) > 0)
	if !ok {
		return nil
	}
	return confine.Apply(needs)
}
