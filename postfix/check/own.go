package check

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/filter"
	"postmend/filter/domain"
	"postmend/postfix"
	"postmend/postfix/layout"
	"postmend/postfix/setup"
	"postmend/reinject"
)

// areaOwn is what is ours on this host.
const areaOwn = "postmend"

// own is what was found out about our own files.
type own struct {
	postmend
	file         fileInfo // the configuration
	config       *filter.Config
	configErr    error
	keys         []ownKey
	secrets      fileInfo // the zero value without SRS
	secretsErr   error
	store        *senderStore             // nil without one
	unfit        unfitSenders             // without a store
	others       []fileInfo               // further files that the configuration names
	socket       fileInfo                 // of the log
	account      *unixUser                // that the filter should run as
	readers      []*unixUser              // the account, and others that Postfix's look-up tables run as
	sharedBy     func(name string) string // what else uses an account; nil if Postfix cannot be read
	myhostname   string                   // Postfix's; "" if not known
	postfixFlag  []string                 // that names Postfix's folder; empty for its own
	postconfFlag []string                 // the same, of postconf(1)
	hosted       []string                 // Postfix's domains that should have a key
	unlisted     []string                 // Postfix's tables that may have more of them
	isRoot       bool                     // check runs as root, and so sees everything

	setupRefuses error // why setup would not make a configuration that is missing
	isPrepared   bool  // Postfix does not know postmend yet
}

type ownKey struct {
	filter.KeyConfig
	file fileInfo
	key  *dkim.Key
	err  error
}

// gatherOwn reads the configuration and looks at what it names.
func gatherOwn(program, configFile string) *own {
	o := &own{file: lookAt(configFile), account: missingUser(layout.User), isRoot: os.Geteuid() == 0}
	text, _ := os.ReadFile(configFile)
	o.postmend = postmend{Program: program, ConfigFile: configFile, Text: string(text),
		Target: reinject.DefaultTarget, Deadline: filter.DefaultDeadline}
	if o.config, o.configErr = loadConfig(configFile); o.configErr != nil {
		return o
	}
	for _, c := range o.config.DKIM.Keys {
		k := ownKey{KeyConfig: c, file: lookAt(c.File)}
		k.key, k.err = dkim.LoadKey(c.Domain, c.Selector, c.File)
		o.keys = append(o.keys, k)
	}
	if o.config.SRS.Domain != "" {
		o.secrets = lookAt(o.config.SRS.SecretsFile)
		_, o.secretsErr = filter.NewRewriter(o.config, time.Now)
	}
	o.store = gatherStore(o.config)
	for _, path := range []string{o.config.LocalDomainsFile, o.config.DMARC.ForceMungeFile,
		o.config.SRS.StorePasswordFile, o.config.SRS.StoreCAFile, o.config.Reinject.PasswordFile,
		o.config.Reinject.CAFile} {
		if path != "" {
			o.others = append(o.others, lookAt(path))
		}
	}
	o.Hostname = o.config.Hostname
	for _, rule := range o.config.Spam {
		o.SpamRedirect = cmp.Or(o.SpamRedirect, rule.Redirect)
	}
	o.Seals, o.HasSecrets = o.config.Arrival.Seals(), o.config.SRS.SecretsFile != ""
	o.socket = lookAt(o.config.Log.Socket)
	o.Owners, o.Secrets, o.HasKeys = o.owners(), o.secrets, len(o.keys) > 0
	o.Target, o.Deadline, o.SRSDomain = o.config.Reinject.Target, time.Duration(o.config.Limits.Deadline),
		strings.ToLower(o.config.SRS.Domain)
	o.SpoolDir = cmp.Or(o.config.Limits.SpoolDir, defaultSpoolDir)
	o.IsLocal, _ = o.config.LocalTest() // filter.New had it, too
	o.Local, o.LocalTables, o.Trusted = o.localNames(), o.config.LocalDomainsMaps, o.config.TrustedNetworks
	return o
}

// loadConfig reads a configuration and makes it ready as the filter does.
func loadConfig(path string) (*filter.Config, error) {
	config, err := filter.LoadConfig(path)
	if err != nil {
		return nil, cause(err)
	}
	if _, err := filter.New(config, filter.Options{}); err != nil {
		return nil, cause(err)
	}
	return config, nil
}

// cause is what a failure says to the operator.
func cause(err error) error {
	if failure, ok := errors.AsType[*filter.Failure](err); ok && failure.Err != nil {
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
	files := []fileInfo{o.secrets}
	for _, k := range o.keys {
		files = append(files, k.file)
	}
	var names []string
	for _, f := range files {
		if name := ownerOf(f); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// learn takes from Postfix who has to read our files.
func (o *own) learn(ctx context.Context, host *host, dir string) {
	o.account, o.readers = host.account, []*unixUser{host.account}
	for _, t := range host.tables {
		if host.tableUserFault(t) == "" && t.user.UID != o.account.UID {
			o.readers = append(o.readers, t.user)
		}
	}
	o.sharedBy = func(name string) string { return setup.SharedBy(host.config, name) }
	o.myhostname = host.Main("myhostname")
	o.hosted, o.unlisted = host.Hosted()
	o.isPrepared = host.isPrepared()
	if o.file.isMissing() {
		_, o.setupRefuses = setup.Open(ctx,
			setup.Options{PostfixDir: dir, ConfigFile: o.ConfigFile, Program: o.Program,
				User: host.account.Name})
	}
}

// firstRules judge what has to be right before anything else is known.
var firstRules = []rule[*own]{
	{Name: "root", Severity: Warning,
		Why: "what you may not read is not judged, and may be wrong", Judge: judgeRoot},
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
	case o.file.isMissing():
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
		if unknown, ok := errors.AsType[*filter.UnknownKeyError](o.configErr); ok &&
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
	for _, f := range append([]fileInfo{o.file}, o.others...) {
		for _, u := range o.readers {
			barrier := f.barrierFor(u, mayRead)
			if f.Err != nil || barrier == nil {
				continue
			}
			mend := f.letIn(u)
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

func notFor(u *unixUser, f fileInfo, barrier *fileInfo) string {
	return fmt.Sprintf("%s cannot read %s, %s", u.Name, f.Path, f.because(barrier))
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

func judgeSecrets(o *own) []fault {
	if o.config.SRS.Domain == "" {
		return []fault{{What: "[srs] has no domain: senders of forwarded mail are not rewritten, and SPF " +
			"fails at the next hop", Severity: Note}}
	}
	path := o.secrets.Path
	make := "(umask 077; openssl rand -base64 24 > " + shell(path) + ") && " +
		shell("chown", o.account.Name, path)
	return o.judgePrivate(o.secrets, o.secretsErr, make)
}

func judgeKeys(o *own) []fault {
	if len(o.keys) == 0 {
		return []fault{{What: "there are no [[dkim.keys]]: nothing is signed, and From: cannot be rewritten",
			Severity: Note}}
	}
	var faults []fault
	for _, k := range o.keys {
		make := "" // Once mail is signed, another key under a published selector breaks the signatures.
		if o.isPrepared {
			make = o.makeKey(k.KeyConfig)
		}
		faults = append(faults, o.judgePrivate(k.file, k.err, make)...)
	}
	for i := range faults {
		// The path is all that differs where one cause is behind them.
		faults[i].cause = "key: " + strings.ReplaceAll(faults[i].What, faults[i].about, "")
	}
	return faults
}

// makeKey is the command that makes a key, and prints its record.
func (o *own) makeKey(k filter.KeyConfig) string {
	return shell(o.Program, "dkim", "genkey", "--domain", k.Domain, "--selector", k.Selector, "--file",
		k.File) +
		" && " + shell("chown", o.account.Name, k.File)
}

// judgePrivate judges a file that only the filter may read; make is the command that makes a new one, "" if
// that has to be a key with another selector. It never replaces a file that may be good: a new secret makes
// every SRS address that was given out invalid, and a new key has to be published first.
func (o *own) judgePrivate(f fileInfo, loadErr error, make string) []fault {
	wrong := func(what, mend string) []fault { return []fault{{What: what, Mend: mend, about: f.Path}} }
	switch {
	case !o.isRoot && (errors.Is(f.Err, fs.ErrPermission) || errors.Is(loadErr, fs.ErrPermission)):
		return []fault{{What: f.Path + " is not judged: you may not read it", Severity: Note, about: f.Path}}
	case f.isMissing() && make == "":
		return wrong(f.Path+" does not exist: restore it from a backup. A new key needs another selector, "+
			"and its record in DNS before it signs: see \"Changing a key\" in docs/postfix.md", "")
	case f.isMissing() && f.holders()[0].isMissing():
		folder := f.holders()[0].Path
		return wrong(f.Path+" does not exist", o.account.first(shell("install", "-d", "-m", "0711",
			folder)+" && "+make))
	case f.isMissing():
		return wrong(f.Path+" does not exist", o.account.first(make))
	case f.Err != nil:
		return wrong(f.Err.Error(), "")
	case f.Mode.Perm()&0o027 != 0:
		return wrong(f.String()+" is accessible to other accounts", shell("chmod", "g-w,o=", f.Path))
	}
	if o.sharedBy != nil {
		if why, isNeeded := o.shared(f); isNeeded {
			mend, edit := o.copyOf(f)
			return []fault{{What: why + ": give postmend a copy", Mend: mend, Edit: edit, about: f.Path}}
		} else if why != "" {
			return wrong(why, o.account.first(shell("chown", o.account.Name+":", f.Path)+" && "+shell("chmod",
				"u=rw,go=", f.Path)))
		}
		if barrier := f.barrierFor(o.account, mayRead); barrier != nil {
			return wrong(notFor(o.account, f, barrier), f.letIn(o.account))
		}
	}
	isOpen := func(folder fileInfo) bool { return folder.Mode.Perm()&0o002 != 0 }
	if loadErr != nil && !slices.ContainsFunc(f.holders(), isOpen) { // which another rule judges
		return wrong(cause(loadErr).Error(), o.account.first(o.mendPrivate(f.Path, loadErr, make)))
	}
	return nil
}

// mendPrivate is the command for a file that cannot be used; "" if that takes a person to decide.
func (o *own) mendPrivate(path string, loadErr error, make string) string {
	if text, err := dkim.ReadPrivateFile(path); err == nil && len(bytes.TrimSpace(text)) == 0 && make != "" {
		return shell("rm", path) + " && " + make
	}
	if !errors.Is(loadErr, dkim.ErrPassphrase) {
		return ""
	}
	fresh := path + ".new"
	return "(umask 077; " + shell("openssl", "pkey", "-in", path, "-out", fresh) + ") && " +
		shell("chown", o.account.Name, fresh) + " && " + shell("mv", fresh, path)
}

func judgeTarget(o *own) []fault {
	if o.config.Reinject.Target != "stdout:" {
		return nil
	}
	return []fault{{What: `target "stdout:" of [reinject] is for trials by hand`,
		Edit: o.setKey("reinject.target", reinject.DefaultTarget)}}
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
	if o.socket.isMissing() {
		err = errors.New("there is no " + o.socket.Path)
	}
	return []fault{{What: "[log] socket: " + err.Error()}}
}
