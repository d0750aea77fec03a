package confine

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postmend/filter/config"
	"postmend/reinject"
)

// What is taken is taken for good, so a child process gives it up and tells what it can still do.
func TestWhatIsNotNeededIsTaken(t *testing.T) {
	if dir := os.Getenv("POSTMEND_TEST_CONFINED"); dir != "" {
		confined(t, dir, os.Getenv("POSTMEND_TEST_PORTS"))
		return
	}
	if abi() == 0 {
		t.Skip("this kernel has no Landlock")
	}
	var ports []string
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		ports = append(ports, port)
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "POSTMEND_TEST_CONFINED="+t.TempDir(),
		"POSTMEND_TEST_PORTS="+strings.Join(ports, " "))
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func confined(t *testing.T, dir, ports string) {
	spool, other := filepath.Join(dir, "spool"), filepath.Join(dir, "other")
	for _, folder := range []string{spool, other} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(other, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	allowed, forbidden, _ := strings.Cut(ports, " ")
	port, _ := strconv.Atoi(allowed)
	if err := Apply(Needs{SpoolDir: spool, TCPPorts: []uint16{uint16(port)}}); err != nil {
		t.Fatal(err)
	}
	// From many goroutines, so that several threads are asked.
	failed := make(chan error)
	const askers = 20
	for range askers {
		go func() {
			failed <- errors.Join(canWork(spool, secret, allowed), cannotStray(other, secret, forbidden))
		}()
	}
	for range askers {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

func canWork(spool, secret, port string) error {
	file, err := os.CreateTemp(spool, "x")
	if err != nil {
		return err
	}
	_, writeErr := file.WriteString("x")
	_, readErr := os.ReadFile(secret)
	conn, dialErr := net.Dial("tcp", "127.0.0.1:"+port)
	if dialErr == nil {
		conn.Close()
	}
	return errors.Join(writeErr, file.Truncate(0), os.Remove(file.Name()), file.Close(), readErr, dialErr)
}

func cannotStray(other, secret, port string) error {
	_, execErr := exec.Command("/bin/true").CombinedOutput()
	attempts := map[string]error{
		"makes a file":     os.WriteFile(filepath.Join(other, "new"), nil, 0o600),
		"writes to a file": os.WriteFile(secret, nil, 0o600),
		"removes a file":   os.Remove(secret),
		"makes a folder":   os.Mkdir(filepath.Join(other, "folder"), 0o700),
		"executes":         execErr,
	}
	if abi() >= 4 {
		_, attempts["connects elsewhere"] = net.Dial("tcp", "127.0.0.1:"+port)
		var plain net.ListenConfig
		plain.SetMultipathTCP(false) // which Landlock leaves alone
		_, attempts["listens"] = plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	}
	var strays error
	for what, err := range attempts {
		if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EPERM) {
			strays = errors.Join(strays, errors.New("a confined process "+what))
		}
	}
	return strays
}

func TestTheNeedsFollowFromTheConfiguration(t *testing.T) {
	for _, row := range []struct {
		change func(*config.Config)
		want   string // "" if nothing can be taken
	}{
		{func(*config.Config) {}, "writes to /spool alone, executes nothing, connects by TCP to port 53, " +
			"10026 alone, of any host"},
		{func(c *config.Config) {
			c.Reinject.Target, c.Resolver = "smtp://host:587?starttls=required", "[::1]:5353"
		},
			"writes to /spool alone, executes nothing, connects by TCP to port 53, 587, 5353 alone, of " +
				"any host"},
		{func(c *config.Config) {
			c.Reinject.Target, c.Resolver = "unix:/var/spool/postfix/public/mended", "127.0.0.1:53"
		}, "writes to /spool alone, executes nothing, connects by TCP to port 53 alone, of any host"},
		{func(c *config.Config) { c.SRS.Domain, c.SRS.Store = "srs.example.org", "dir:/var/lib/srs" },
			"writes to /spool and /var/lib/srs alone, executes nothing, connects by TCP to port 53, 10026 " +
				"alone, of any host"},
		{func(c *config.Config) { c.SRS.Domain, c.SRS.Store = "srs.example.org", "redis://host:6379/0" },
			"writes to /spool alone, executes nothing, connects by TCP to port 53, 6379, 10026 alone, of " +
				"any host"},
		{func(c *config.Config) { c.Reinject.Target = "sendmail:/usr/sbin/sendmail" }, ""},
		{func(c *config.Config) { c.LocalDomainsMaps = []string{"hash:/etc/postfix/virtual"} }, ""},
	} {
		c := &config.Config{}
		c.Reinject.Target = reinject.DefaultTarget
		row.change(c)
		needs, ok := NeedsOf(c, "/spool")
		if ok != (row.want != "") || ok && needs.String() != row.want {
			t.Errorf("%s: %t, %s", row.want, ok, needs)
		}
	}
	for _, active := range Active(nil) {
		if strings.Contains(active, "Landlock") {
			t.Errorf("nothing can be taken, and yet: %s", active)
		}
	}
}
