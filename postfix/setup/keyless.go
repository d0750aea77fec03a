package setup

import (
	"slices"
	"strings"

	"postmend/filter/config"
)

// Keyless are the domains for which a configuration has no key, neither their own nor one of a domain above.
func Keyless(c *config.Config, domains []string) []string {
	var without []string
	for _, domain := range domains {
		serves := func(k config.Key) bool {
			return domain == k.Domain ||
				strings.HasSuffix(domain, "."+k.Domain)
		}
		if !slices.ContainsFunc(c.DKIM.Keys, serves) {
			without = append(without, domain)
		}
	}
	return without
}
