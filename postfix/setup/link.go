package setup

import (
	"os"
	"path/filepath"

	"postmend/postfix/postconf"
)

// linkSteps make main.cf and master.cf symbolic links again.
func linkSteps(c *postconf.Config) []Step {
	var steps []Step
	for _, name := range configFiles {
		if command := Relink(c, name); command != "" {
			steps = append(steps, Step{Why: name + " stays a symbolic link",
				Action: postconf.Command{"sh", "-c", command}})
		}
	}
	return steps
}

// Relink is the shell command that makes main.cf or master.cf a symbolic link again: postconf(1) and mv(1)
// replace a link by a file. The new content goes to the file that the link leads to. "" if there is no link.
func Relink(c *postconf.Config, name string) string {
	path := filepath.Join(c.Dir, name)
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	behind := target
	if !filepath.IsAbs(behind) {
		behind = filepath.Join(c.Dir, target)
	}
	return postconf.Command{"test", "-L", path}.String() + " || { " +
		postconf.Command{"cp", path, behind}.String() + " && " +
		postconf.Command{"ln", "-sf", target, path}.String() + "; }"
}
