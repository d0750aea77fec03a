package tests

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/postfix/access"
	"postmend/postfix/layout"
)

// The package makes the account before setup runs, which then finds it.
func TestThePackagesAccountIsTheOneThatSetupMakes(t *testing.T) {
	text, err := os.ReadFile("../debian/postmend.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	command := access.AddUserCommand(layout.User)
	option := func(name string) string { return command[slices.Index(command, name)+1] }
	want := regexp.MustCompile(`^u ` + layout.User + ` - ".*" ` + option("--home-dir") + ` ` +
		option("--shell") + `\n$`)
	if !want.Match(text) || !slices.Contains(command, "--system") ||
		!slices.Contains(command, "--user-group") {
		t.Errorf("debian/postmend.sysusers has %q; setup makes the account by %q", text, command)
	}
}

func TestTheExampleConfigurationIsValid(t *testing.T) {
	text, err := os.ReadFile("../docs/postmend.toml")
	if err != nil {
		t.Fatal(err)
	}
	explicit := regexp.MustCompile(`(?m)^#([a-z_]+ *=)`).ReplaceAllString(string(text), "$1")
	for _, variant := range []string{string(text), explicit} {
		file := t.TempDir() + "/postmend.toml"
		if err := os.WriteFile(file, []byte(variant), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(file); err != nil {
			t.Errorf("docs/postmend.toml: %v", cause.AsFailure(err).Err)
		}
	}
}
