package check

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"postmend/dkim"
	"postmend/filter"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/filter/domain"
	"postmend/postfix/access"
	"postmend/postfix/layout"
	"postmend/postfix/setup"
	"postmend/reinject"
)

// areaOwn is what is ours on this host.
const areaOwn = "postmend"

// own is what was found out about our own files.
type own struct {
	postmend
	file         access.File // the configuration
	config       *config.Config
	configErr    error
	keys         []ownKey
	secrets      access.File // the zero value without SRS
	secretsErr   error
	store        *senderStore             // nil without one
	unfit        unfitSenders             // without a store
	named        []access.File            // the files that the configuration names, but for keys and secrets
	socket       access.File              // of the log
	account      *access.User             // that the filter should run as
	readers      []*access.User           // the account, and others that Postfix's look-up tables run as
	sharedBy     func(name string) string // what else uses an account; nil if Postfix cannot be read
	myhostname   string                   // Postfix's; "" if not known
	listener     string                   // the target that leads to Postfix's listener, or the default one
	postfixFlag  []string                 // that names Postfix's folder; empty for its own
	postconfFlag []string                 // the same, of postconf(1)
	hosted       []string                 // Postfix's domains that should have a key
	private      []string                 // Postfix's domains that can have none
	// newRecords are those of keys that the configuration does not name, by domain; nil if DNS was not asked
	newRecords map[string]keyRecord
	unlisted   []string // Postfix's tables that may have more domains
	isRoot     bool     // check runs as root, and so sees everything

	setupRefuses error // why setup would not make a configuration that is missing
	isPrepared   bool  // Postfix does not know postmend yet
}

type ownKey struct {
	config.Key
	file access.File
	key  *dkim.Key
	err  error
}

// gatherOwn reads the configuration and looks at what it names.
func gatherOwn(program, configFile string) *own {
	o := &own{file: access.LookAt(configFile), account: access.MissingUser(layout.User),
		isRoot:   os.Geteuid() == 0,
		listener: reinject.DefaultTarget}
	text, _ := os.ReadFile(configFile)
	o.postmend = postmend{Program: program, ConfigFile: configFile, Text: string(text),
		Target: reinject.DefaultTarget, Deadline: config.DefaultDeadline}
	if o.config, o.configErr = loadConfig(configFile); o.configErr != nil {
		o.guess()
		return o
	}
	for _, c := range o.config.DKIM.Keys {
		k := ownKey{Key: c, file: access.LookAt(c.File)}
		k.key, k.err = dkim.LoadKey(c.Domain, c.Selector, c.File)
		o.keys = append(o.keys, k)
	}
	if o.config.SRS.Domain != "" {
		o.secrets = access.LookAt(o.config.SRS.SecretsFile)
		_, o.secretsErr = o.config.SRS.Rewriter(time.Now)
	}
	o.store = gatherStore(o.config)
	for _, path := range []string{o.config.LocalDomainsFile, o.config.DMARC.ForceMungeFile,
		o.config.SRS.StorePasswordFile, o.config.SRS.StoreCAFile, o.config.Reinject.PasswordFile,
		o.config.Reinject.CAFile} {
		if path != "" {
			o.named = append(o.named, access.LookAt(path))
		}
	}
	o.Hostname = o.config.Hostname
	for _, rule := range o.config.Spam {
		o.SpamRedirect = cmp.Or(o.SpamRedirect, rule.Redirect)
	}
	o.Seals, o.HasSecrets = o.config.Arrival.Seals(), o.config.SRS.SecretsFile != ""
	o.socket = access.LookAt(o.config.Log.Socket)
	o.Owners, o.Secrets, o.HasKeys = o.owners(), o.secrets, len(o.keys) > 0
	if o.HasKeys {
		o.NewAuthor = cmp.Or(o.config.DMARC.FromAddress, "postmaster@"+o.config.DKIM.DefaultDomain)
	}
	o.Target, o.Deadline, o.SRSDomain = o.config.Reinject.Target, time.Duration(o.config.Limits.Deadline),
		strings.ToLower(o.config.SRS.Domain)
	o.SpoolDir = cmp.Or(o.config.Limits.SpoolDir, defaultSpoolDir)
	local, _ := o.config.LocalSet() // filter.New had them, too
	o.IsLocal = func(name string) bool { return local.Has(domain.Canonical(name)) }
	o.Local, o.LocalTables, o.Trusted = o.localNames(), o.config.LocalDomainsMaps, o.config.TrustedNetworks
	return o
}

// guess takes from a configuration that is not valid where the listener is, so that Postfix is not judged by
// the default.
func (o *own) guess() {
	var c config.Config
	switch _, err := toml.Decode(o.Text, &c); {
	case err != nil:
		o.Target = ""
	case c.Reinject.Target != "":
		o.Target = c.Reinject.Target
	}
}

// loadConfig reads a configuration and makes it ready as the filter does.
func loadConfig(path string) (*config.Config, error) {
	settings, err := config.Load(path)
	if err != nil {
		return nil, detail(err)
	}
	if _, err := filter.New(settings, filter.Options{}); err != nil {
		return nil, detail(err)
	}
	return settings, nil
}

// detail is what a failure says to the operator.
func detail(err error) error {
	if failure, ok := errors.AsType[*cause.Failure](err); ok && failure.Err != nil {
		return failure.Err
	}
	return err
}

// localNames are the names in local_domains and its file that stand for themselves.
func (o *own) localNames() []string {
	text, _ := os.ReadFile(o.config.LocalDomainsFile) // filter.New has read it
	var names []string
	for _, line := range slices.Concat(o.config.LocalDomains, strings.Split(string(text), "\n")) {
		name := domain.Canonical(strings.TrimSpace(line))
		if name != "" && name[0] != '.' && name[0] != '#' && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// owners are the accounts that the secret and the keys belong to, the secret's first.
func (o *own) owners() []string {
	files := []access.File{o.secrets}
	for _, k := range o.keys {
		files = append(files, k.file)
	}
	var names []string
	for _, f := range files {
		if name := access.OwnerOf(f); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// learn takes from Postfix who has to read our files.
func (o *own) learn(ctx context.Context, host *host, dir string) {
	o.account, o.readers = host.account, []*access.User{host.account}
	for _, t := range host.tables {
		if host.tableUserFault(t) == "" && t.user.UID != o.account.UID {
			o.readers = append(o.readers, t.user)
		}
	}
	o.sharedBy = func(name string) string { return access.SharedBy(host.config, name) }
	o.myhostname = host.Main("myhostname")
	if spare := host.spareListener(); spare != nil {
		o.listener = targetAt(spare)
	}
	o.hosted, o.private, o.unlisted = host.keyable()
	o.isPrepared = host.isPrepared()
	if o.file.IsMissing() {
		_, o.setupRefuses = setup.Open(ctx,
			setup.Options{PostfixDir: dir, ConfigFile: o.ConfigFile, Program: o.Program,
				User: host.account.Name})
	}
}
