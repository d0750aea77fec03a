package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// hostRoot is the root folder of a host with the package and Postfix, for the package's scripts.
func hostRoot(t *testing.T, files map[string]string) (root string, env []string) {
	t.Helper()
	root = t.TempDir()
	programs := filepath.Join(root, "programs")
	files["programs/postconf"] = "#!/bin/sh\n[ \"$2\" != config_directory ] || echo /etc/postfix\n"
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if filepath.Dir(path) == programs {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return root, append(os.Environ(), "DPKG_ROOT="+root, "PATH="+programs+":"+os.Getenv("PATH"),
		"DEBIAN_HAS_FRONTEND=1", "DEBCONF_REDIR=1")
}

// TestThePackageIsNotRemovedWhilePostfixNeedsIt, in whatever way Postfix names it.
func TestThePackageIsNotRemovedWhilePostfixNeedsIt(t *testing.T) {
	t.Parallel()
	const unit = "etc/systemd/system/mail-mender.service"
	serve := func(arguments string) string {
		return "[Service]\nExecStart=/usr/bin/postmend serve " + arguments + "\n"
	}
	for _, row := range []struct {
		name, main, master, unit string
		refused                  bool
	}{
		{"nothing of it", "content_filter =\n", "smtp inet n - y - - smtpd\n", "", false},
		{"a comment", "# argv=/usr/bin/postmend filter\n", "#postmend unix - - n - 100 lmtp\n",
			serve("--lmtp inet:127.0.0.1:10025"), false},
		{"pipe(8)", "", "postmend unix - n n - 20 pipe\n  argv=/usr/bin/postmend filter\n", "", true},
		{"another program", "", "x unix - n n - 20 pipe\n  argv=/usr/bin/postmend-like\n", "", false},
		{"the milter", "smtpd_milters = { unix:postmend/milter }\n", "", "", true},
		{"LMTP as setup writes it", "content_filter = postmend:inet:127.0.0.1:10025\n",
			"postmend  unix  -  -  n  -  100  lmtp\n", "", true},
		{"Postfix's own lmtp(8)", "content_filter = lmtp:inet:127.0.0.1:10025\n", "",
			serve("--lmtp inet:127.0.0.1:10025"), true},
		{"the same without inet:", "content_filter = lmtp:[127.0.0.1]:10025\n", "",
			serve("--milter unix:/x/y --lmtp=inet:127.0.0.1:10025"), true},
		{"an option of a service", "",
			"smtp inet n - y - - smtpd\n  -o content_filter=lmtp:inet:[::1]:10025\n",
			serve("-c /etc/postmend/postmend.toml --lmtp inet:[::1]:10025"), true},
		{"a Unix-domain socket", "default_transport = lmtp:unix:/run/postmend/lmtp\n", "",
			serve("--lmtp unix:/run/postmend/lmtp"), true},
		{"a milter by TCP", "smtpd_milters = inet:localhost:10028\n", "",
			serve("--milter inet:127.0.0.1:10028"), true},
		{"a unit with a long line", "content_filter = lmtp:inet:127.0.0.1:10025\n", "",
			serve("\\\n  --milter unix:/x/y \\\n  --lmtp inet:127.0.0.1:10025"), true},
		{"another port", "content_filter = lmtp:inet:127.0.0.1:100256\n", "",
			serve("--lmtp inet:127.0.0.1:10025"), false},
		{"a unit of another program", "content_filter = lmtp:inet:127.0.0.1:10025\n", "",
			"[Service]\nExecStart=/usr/bin/other serve --lmtp inet:127.0.0.1:10025\n", false},
	} {
		root, env := hostRoot(t, map[string]string{"etc/postfix/main.cf": row.main,
			"etc/postfix/master.cf": row.master, unit: row.unit})
		for action, mayRefuse := range map[string]bool{"remove": true, "upgrade": false} {
			cmd := exec.Command("sh", "../debian/postmend.prerm", action)
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			isRefused := strings.Contains(string(out), "postmend setup --undo")
			if want := row.refused && mayRefuse; (err != nil) != want || isRefused != want {
				t.Errorf("%s: %s in %s: %v, want refused: %t\n%s", row.name, action, root, err, want, out)
			}
		}
	}
}

// TestAnUpgradeRestartsWhatRunsThePackagesProgram, and nothing else.
func TestAnUpgradeRestartsWhatRunsThePackagesProgram(t *testing.T) {
	t.Parallel()
	root, env := hostRoot(t, map[string]string{
		"run/systemd/system/x": "",
		"programs/systemctl": `#!/bin/sh
case $* in
*list-units*)
	printf '%s loaded active running x\n' postmend.service postmend-serve.service postmend-other.service
	;;
*show*postmend-other*) echo '{ path=/usr/local/bin/postmend ; argv[]=/usr/local/bin/postmend serve ; }' ;;
*show*) echo '{ path=/usr/bin/postmend ; argv[]=/usr/bin/postmend serve ; }' ;;
esac
`,
		"programs/deb-systemd-invoke": "#!/bin/sh\necho \"$@\" >>\"$DPKG_ROOT/invoked\"\n",
	})
	for _, c := range []struct{ old, want string }{
		{"", ""}, // a first installation
		{"0~1", "restart postmend.service\nrestart postmend-serve.service\n"},
	} {
		cmd := exec.Command("sh", "../debian/postmend.postinst", "configure", c.old)
		cmd.Env = env
		cmd.ExtraFiles = []*os.File{os.Stderr} // where debconf is
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, _ := os.ReadFile(filepath.Join(root, "invoked")); string(got) != c.want {
			t.Errorf("from %q: %q, want %q", c.old, got, c.want)
		}
	}
}
