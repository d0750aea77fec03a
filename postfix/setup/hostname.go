package setup

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"postmend/filter/config"
	"postmend/filter/domain/publicsuffix"
	"postmend/postfix/postconf"
)

// hostnameOf is the name by which other hosts know this one: what the operator says, or Postfix's
// myhostname, or the full name that the system has.
func hostnameOf(o *Options, c *postconf.Config) (string, error) {
	if o.Hostname != "" {
		return canonical(o.Hostname), nil
	}
	mine, err := c.Expand("myhostname")
	if err != nil {
		return "", err
	}
	for _, name := range []string{mine, systemName()} {
		if name = canonical(name); IsFullName(name) {
			return name, nil
		}
	}
	return "", fmt.Errorf("the full name of this host is not known: myhostname in main.cf is %q, which no "+
		"other host can look up. Give the name that it has in DNS, as in --hostname mx.example.org", mine)
}

// IsFullName tells whether other hosts can look a name up.
func IsFullName(name string) bool {
	_, listed := publicsuffix.PublicSuffix(name)
	return listed && strings.Contains(name, ".")
}

// systemName is what hostname(1) says; "" if it does not answer.
func systemName() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	name, err := exec.CommandContext(ctx, "hostname", "--fqdn").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// withFullName is the configuration as it will be when myhostname is a full name. A name that cannot be
// found out is an error later on, where it is needed.
func withFullName(o *Options, c *postconf.Config) *postconf.Config {
	mine, err := c.Expand("myhostname")
	if err != nil || IsFullName(canonical(mine)) {
		return c
	}
	name := ""
	if settings, err := config.Load(o.ConfigFile); err == nil {
		name = settings.Hostname
	} else {
		name, _ = hostnameOf(o, c)
	}
	if !IsFullName(name) {
		return c
	}
	return c.With(postconf.Parameter{Name: "myhostname", Value: name})
}

// addHostname has Postfix greet other hosts with a name that they can look up.
func (p *Plan) addHostname() {
	if name := p.wanted.Hostname; name != "" && !IsFullName(canonical(p.config.Get("myhostname"))) {
		p.set("myhostname", name,
			"many hosts refuse mail from one that greets them with a name that is not in DNS")
	}
}
