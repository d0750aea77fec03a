package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	"postmend/postfix"
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
	unlisted     []string                 // Postfix's tables that may have more domains
	isRoot       bool                     // check runs as root, and so sees everything

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

// firstRules judge what has to be right before anything else is known.
var firstRules = []rule[*own]{
	{Name: "root", Severity: Warning,
		Why: "files that you may not read were not judged, and may be wrong", Judge: judgeRoot},
	{Name: "config", Severity: Error, OK: "the configuration can be read and is valid",
		Why: "all mail that passes postmend is deferred until it is right", Judge: judgeConfig},
}

var ownRules = []rule[*own]{
	{Name: "config-readable", Severity: Error,
		OK:  "postmend's account can read it and the files that it names",
		Why: "all mail is deferred while postmend cannot read it", Judge: judgeReadable},
	{Name: "config-writable", Severity: Error,
		OK: "only root and postmend's account can change postmend's files",
		Why: "whoever can change or replace postmend's files decides where mail goes, and can use its " +
			"keys and secrets",
		Judge: judgeWritable},
	{Name: "hostname", Severity: Warning, OK: "hostname is a full name, and the same as Postfix's myhostname",
		Why: "it is the name in Authentication-Results fields, by which other filters recognise " +
			"this host's",
		Judge: judgeHostname},
	{Name: "srs-secrets", Severity: Error,
		OK: "postmend's account can read the SRS secrets, and no other account can",
		Why: "without them forwarded mail is deferred; whoever reads them can send mail to anybody " +
			"through this host", Judge: judgeSecrets},
	{Name: "srs-secret-length", Severity: Error,
		Why: "whoever guesses a secret can send mail to anybody through this host", Judge: judgeSecretLength},
	{Name: "dkim-keys", Severity: Error,
		OK:    "postmend's account can read the DKIM keys, and no other account can",
		Why:   "without them mail is deferred; whoever reads them can sign mail in the name of the domain",
		Judge: judgeKeys},
	{Name: "dkim-domains", Severity: Note,
		Why: "mail of this domain is not signed; if From: of mail that it forwards has to be rewritten, " +
			"the new author is postmaster@ the default domain", Judge: judgeKeyless},
	{Name: "target", Severity: Error,
		Why:   "all mail is deferred: Postfix would take the message on standard output for a status",
		Judge: judgeTarget},
	{Name: "reinject-files", Severity: Error, Why: "all mail is deferred", Judge: judgeReinjectFiles},
	{Name: "log", Severity: Note, Why: "postmend's log lines are lost", Judge: judgeLog},
}

func (o *own) judge() []Finding {
	findings := apply(areaOwn, firstRules, o)
	if o.config == nil {
		return findings
	}
	return slices.Concat(findings, apply(areaOwn, ownRules, o), apply(areaOwn, storeRules, o))
}

func judgeRoot(o *own) []fault {
	if o.isRoot {
		return nil
	}
	return []fault{{What: "check does not run as root: files that only root can read are not judged"}}
}

func judgeConfig(o *own) []fault {
	if o.configErr == nil {
		return nil
	}
	wrong := fault{What: o.configErr.Error()}
	switch {
	case o.file.IsMissing():
		wrong.What, wrong.Why = o.ConfigFile+" does not exist", "postmend cannot work without it"
		if o.setupRefuses != nil {
			wrong.What += ", and setup cannot make it yet: " + o.setupRefuses.Error()
			break
		}
		wrong.Mend = shell(slices.Concat([]string{o.Program, "setup", "--prepare", "-c", o.ConfigFile},
			o.postfixFlag)...)
	case !o.isRoot && errors.Is(o.configErr, fs.ErrPermission):
		wrong.Severity = Note
	default:
		if unknown, ok := errors.AsType[*config.UnknownKeyError](o.configErr); ok &&
			meantKey(unknown.Key) != "" {
			wrong.What += fmt.Sprintf("; is %s meant?", meantKey(unknown.Key))
		}
	}
	return []fault{wrong}
}

func judgeReadable(o *own) []fault {
	if o.sharedBy == nil {
		return []fault{{What: "Postfix cannot be read: whether postmend's account can read the " +
			"configuration is not judged", Severity: Note}}
	}
	var faults []fault
	for _, f := range append([]access.File{o.file}, o.named...) {
		for _, u := range o.readers {
			barrier := f.BarrierFor(u, access.MayRead)
			if f.Err != nil || barrier == nil {
				continue
			}
			mend := f.LetIn(u)
			mayHoldSecret := f.Path == o.config.Reinject.PasswordFile || f.Path == o.config.Reinject.CAFile ||
				f.Path == o.config.SRS.StorePasswordFile || f.Path == o.config.SRS.StoreCAFile
			if !mayHoldSecret && barrier.Path == f.Path {
				mend = shell("chmod", "a+r", f.Path)
			}
			faults = append(faults, fault{What: notFor(u, f, barrier), Mend: mend})
		}
	}
	return faults
}

func notFor(u *access.User, f access.File, barrier *access.File) string {
	return fmt.Sprintf("%s cannot read %s, %s", u.Name, f.Path, f.Because(barrier))
}

func judgeHostname(o *own) []fault {
	switch {
	case !strings.Contains(o.config.Hostname, "."):
		wrong := fault{What: fmt.Sprintf("hostname is %q, which is not a full name", o.config.Hostname)}
		if strings.Contains(o.myhostname, ".") {
			wrong.Edit = o.setKey("hostname", o.myhostname)
		}
		return []fault{wrong}
	case o.myhostname != "" && !setup.IsFullName(strings.ToLower(o.myhostname)):
		wrong := fault{What: fmt.Sprintf("Postfix's myhostname is %q, which no other host can look up",
			o.myhostname),
			Why: "many hosts refuse mail from one that greets them with a name that is not in DNS"}
		if o.isPrepared {
			wrong.What, wrong.Severity = wrong.What+"; setup --apply sets it to "+o.config.Hostname, Note
		} else {
			wrong.Mend = shell(slices.Concat([]string{"postconf"}, o.postconfFlag, []string{"-e",
				"myhostname=" + o.config.Hostname})...)
		}
		return []fault{wrong}
	case o.myhostname != "" && !strings.EqualFold(o.config.Hostname, o.myhostname):
		return []fault{{What: fmt.Sprintf("hostname is %q, but Postfix's myhostname is %q", o.config.Hostname,
			o.myhostname), Edit: o.setKey("hostname", o.myhostname)}}
	}
	return nil
}

func judgeTarget(o *own) []fault {
	if o.config.Reinject.Target != "stdout:" {
		return nil
	}
	return []fault{{What: `target "stdout:" of [reinject] is for trials by hand`,
		Edit: o.setKey("reinject.target", o.listener)}}
}

func judgeReinjectFiles(o *own) []fault {
	err := o.config.Reinject.Check()
	if err == nil || !o.isRoot && errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return []fault{{What: postfix.Printable(err.Error())}}
}

func judgeLog(o *own) []fault {
	if o.socket.Err == nil {
		return nil
	}
	err := o.socket.Err
	if o.socket.IsMissing() {
		err = errors.New("there is no " + o.socket.Path)
	}
	return []fault{{What: "[log] socket: " + err.Error()}}
}
