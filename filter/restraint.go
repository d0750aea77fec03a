package filter

import (
	"os"

	"postmend/filter/confine"
	"postmend/srs/store"
)

// Confine gives up for good all permissions that this filter does not need. It is for a process that does
// nothing else.
func (f *Filter) Confine() error {
	needs, ok := confine.NeedsOf(f.config, os.TempDir())
	if !ok {
		return nil
	}
	if needs.StoreDir != "" {
		_ = store.Prepare(needs.StoreDir) // it cannot be made later; whoever needs it tells why it is missing
	}
	return confine.Apply(needs)
}
