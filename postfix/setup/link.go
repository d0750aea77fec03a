package setup

import (
	"os"
	"path/filepath"

	"postmend/postfix/postconf"
)

// linkSteps make main.cf and master.cf symbolic links again, where they are: postconf(1) and mv(1) put a
// file in the place of a link. The content goes to the file behind it.
func linkSteps(c *postconf.Config) []Step {
	var steps []Step
	for _, name := range configFiles {
		path := filepath.Join(c.Dir, name)
		target, err := os.Readlink(path)
		if err != nil {
			continue
		}
		behind := target
		if !filepath.IsAbs(behind) {
			behind = filepath.Join(c.Dir, target)
		}
		keep := postconf.Command{"cp", path, behind}.String() + " && " +
			postconf.Command{"ln", "-sf", target, path}.String()
		steps = append(steps, Step{Why: name + " stays a symbolic link", Action: postconf.Command{"sh", "-c",
			postconf.Command{"test", "-L", path}.String() + " || { " + keep + "; }"}})
	}
	return steps
}
