package check

import (
	"strings"

	"postmend/postfix/setup"
)

// keepLinks lets main.cf and master.cf stay symbolic links: postconf(1) replaces a link by a file, so the
// commands that change one are followed by a command that restores it.
func (h *host) keepLinks(findings []Finding) {
	for _, name := range []string{"main.cf", "master.cf"} {
		relink := setup.Relink(h.config, name)
		for i := range findings {
			if f := &findings[i]; relink != "" && h.rewrites(f.Mend, name) {
				f.Mend += " && { " + relink + "; }"
			}
		}
	}
}

// rewrites tells whether a mend has postconf(1) write main.cf or master.cf of this Postfix.
func (h *host) rewrites(mend, name string) bool {
	for part := range strings.SplitSeq(mend, " && ") {
		flag, found := strings.CutPrefix(part, "postconf ")
		if rest, named := strings.CutPrefix(flag, "-c "+shell(h.config.Dir)+" "); named {
			flag = rest
		}
		isMain := strings.HasPrefix(flag, "-e ") || strings.HasPrefix(flag, "-X ")
		isOther := strings.HasPrefix(flag, "-c ") // Postfix's own main.cf, for sendmail(1)
		if found && !isOther && isMain == (name == "main.cf") {
			return true
		}
	}
	return false
}
