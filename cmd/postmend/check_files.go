package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/filter"
	"postmend/postfix/check"
)

// areaFiles is what is ours on this host.
const areaFiles = "postmend"

// own is what was found out about our own files.
type own struct {
	program     string
	configFile  string
	file        check.File // the configuration
	text        string     // of it
	config      *filter.Config
	configErr   error
	isLocal     func(string) bool
	keys        []ownKey
	secrets     check.File // the zero value without SRS
	secretsErr  error
	others      []check.File // further files that the configuration names
	socket      check.File   // of the log
	users       []*check.User
	myhostname  string   // Postfix's; "" if not known
	postfixFlag []string // that names Postfix's folder; empty for its own
	user        string   // the account for new files
	hosted      []string // Postfix's domains that should have a key
	unlisted    []string // Postfix's tables that may have more of them
	isRoot      bool     // check runs as root, and so sees everything
}

type ownKey struct {
	filter.KeyConfig
	file check.File
	key  *dkim.Key
	err  error
}

// gatherOwn reads the configuration and looks at what it names.
func gatherOwn(configFile string) *own {
	o := &own{configFile: configFile, file: check.Stat(configFile), user: check.DefaultUser, isRoot: os.Geteuid() == 0}
	o.program, _ = os.Executable()
	text, _ := os.ReadFile(configFile)
	o.text = string(text)
	if o.config, o.configErr = loadProblem(configFile); o.configErr != nil {
		return o
	}
	o.isLocal, _ = o.config.LocalTest() // filter.New had it, too
	for _, c := range o.config.DKIM.Keys {
		k := ownKey{KeyConfig: c, file: check.Stat(c.File)}
		k.key, k.err = dkim.LoadKey(c.Domain, c.Selector, c.File)
		o.keys = append(o.keys, k)
	}
	if o.config.SRS.Domain != "" {
		o.secrets = check.Stat(o.config.SRS.SecretsFile)
		_, o.secretsErr = filter.NewRewriter(o.config, time.Now)
	}
	for _, path := range []string{o.config.LocalDomainsFile, o.config.DMARC.ForceMungeFile, o.config.Reinject.PasswordFile} {
		if path != "" {
			o.others = append(o.others, check.Stat(path))
		}
	}
	o.socket = check.Stat(o.config.Log.Socket)
	return o
}

// forPostfix is what the judgement of Postfix depends on.
func (o *own) forPostfix() check.Postmend {
	p := check.Postmend{
		Program:     o.program,
		ConfigFile:  o.configFile,
		DefaultFile: filter.DefaultConfigFile,
		Owner:       o.owner(),
		Deadline:    time.Minute,
		Target:      "smtp://127.0.0.1:10026",
	}
	if o.config == nil {
		return p
	}
	p.Target, p.Deadline, p.SRSDomain = o.config.Reinject.Target, time.Duration(o.config.Limits.Deadline), strings.ToLower(o.config.SRS.Domain)
	p.SpoolDir = cmp.Or(o.config.Limits.SpoolDir, check.DefaultSpoolDir)
	p.IsLocal, p.Local = o.isLocal, o.localNames()
	p.AddLocal = func(domain string) string { return o.addTo("local_domains", domain) }
	p.HasTable = func(table string) bool { return slices.Contains(o.config.LocalDomainsMaps, table) }
	p.AddTable = func(table string) string { return o.addTo("local_domains_maps", table) }
	p.SetTarget = o.setTarget
	return p
}

// localNames are the names in local_domains and its file that stand for themselves.
func (o *own) localNames() []string {
	text, _ := os.ReadFile(o.config.LocalDomainsFile) // filter.New has read it
	var names []string
	for _, line := range slices.Concat(o.config.LocalDomains, strings.Split(string(text), "\n")) {
		name := strings.ToLower(strings.TrimSpace(line))
		if name != "" && name[0] != '.' && name[0] != '#' && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// owner is the account that most likely is the filter's: that of the first secret.
func (o *own) owner() string {
	if name := ownerOf(o.secrets); name != "" {
		return name
	}
	for _, k := range o.keys {
		if name := ownerOf(k.file); name != "" {
			return name
		}
	}
	return ""
}

// learn takes from Postfix who has to read our files.
func (o *own) learn(host *check.Host) {
	o.users = host.Users()
	o.myhostname = host.Main("myhostname")
	o.hosted, o.unlisted = host.Hosted()
	if len(o.users) > 0 {
		o.user = o.users[0].Name
	} else if owner := o.owner(); owner != "" {
		o.user = owner
	}
}

// firstRules judge what has to be right before anything else is known.
var firstRules = []check.Rule[*own]{
	{Name: "root", Severity: check.Warning,
		Why: "the accounts in master.cf may read what you may not, and what nobody looked at may be wrong", Judge: judgeRoot},
	{Name: "config", Severity: check.Error, OK: "the configuration can be read and makes sense",
		Why: "without it all mail waits", Judge: judgeConfig},
}

var ownRules = []check.Rule[*own]{
	{Name: "config-readable", Severity: check.Error, OK: "the filter's account may read it, and what it names",
		Why: "what the filter cannot read holds all mail", Judge: judgeReadable},
	{Name: "config-writable", Severity: check.Error, OK: "",
		Why: "who may write to it decides where mail goes", Judge: judgeWritable},
	{Name: "hostname", Severity: check.Warning, OK: "hostname is a full name, and Postfix's own",
		Why: "it stands in Authentication-Results, and receivers and earlier filters compare it", Judge: judgeHostname},
	{Name: "srs-secrets", Severity: check.Error, OK: "the SRS secrets can be read by the filter's account, and not by others",
		Why: "without them forwarded mail waits; who reads them can send bounces to anybody through this host", Judge: judgeSecrets},
	{Name: "dkim-keys", Severity: check.Error, OK: "the DKIM keys can be read by the filter's account, and not by others",
		Why: "without them mail leaves unsigned or waits; who reads them can sign as the domain", Judge: judgeKeys},
	{Name: "dkim-domains", Severity: check.Note,
		Why: "what is forwarded through it and needs another From: gets postmaster@ the default domain, and its own mail is not signed in its name", Judge: judgeKeyless},
	{Name: "target", Severity: check.Error,
		Why: "Postfix would take the message for a report of its delivery, and so the filter refuses: all mail waits", Judge: judgeTarget},
	{Name: "log", Severity: check.Note, Why: "the filter's log lines are lost", Judge: judgeLog},
}

func (o *own) judge() []check.Finding {
	findings := check.Apply(areaFiles, firstRules, o)
	if o.config == nil {
		return findings
	}
	return append(findings, check.Apply(areaFiles, ownRules, o)...)
}

func judgeRoot(o *own) []check.Fault {
	if o.isRoot {
		return nil
	}
	return []check.Fault{{What: "check is not run as root: what only root can see is not judged"}}
}

func judgeConfig(o *own) []check.Fault {
	if o.configErr == nil {
		return nil
	}
	fault := check.Fault{What: o.configErr.Error()}
	switch {
	case o.file.Missing():
		fault.Mend = check.Shell(slices.Concat([]string{o.program, "setup", "--apply", "-c", o.configFile}, o.postfixFlag)...)
	case !o.isRoot && errors.Is(o.configErr, fs.ErrPermission):
		fault.Severity = check.Note
	default:
		fault.Mend = o.mendConfig()
	}
	return []check.Fault{fault}
}

// mendConfig renames a key that was mistyped, or else opens an editor where the error is: a line that is taken out could be the middle of a
// list or the head of a section.
func (o *own) mendConfig() string {
	key, line := unknownKey(o.configErr)
	if wrong, right, ok := renaming(o.text, key, line); ok {
		return check.Shell("sed", "-i", fmt.Sprintf("%ds/%s/%s/", line, wrong, right), o.configFile)
	}
	words := []string{o.configFile}
	if found := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(o.configErr.Error()); found != nil {
		words = []string{"+" + found[1], o.configFile}
	}
	return "${EDITOR:-vi} " + check.Shell(words...)
}

func judgeReadable(o *own) []check.Fault {
	if len(o.users) == 0 {
		return []check.Fault{{What: "the filter's account is not known: whether it may read what it has to is not judged", Severity: check.Note}}
	}
	var faults []check.Fault
	for _, f := range append([]check.File{o.file}, o.others...) {
		for _, u := range o.users {
			barrier := f.Barrier(u, check.Read)
			if f.Err != nil || barrier == nil {
				continue
			}
			mend := f.LetIn(barrier, u)
			if f.Path == o.configFile && barrier.Path == f.Path {
				mend = check.Shell("chmod", "a+r", f.Path) // it holds no secret
			}
			faults = append(faults, check.Fault{What: notFor(u, f, barrier), Mend: mend})
		}
	}
	return faults
}

func notFor(u *check.User, f check.File, barrier *check.File) string {
	return fmt.Sprintf("%s may not read %s, %s", u.Name, f.Path, f.Because(barrier))
}

func judgeWritable(o *own) []check.Fault {
	if o.file.Err != nil || o.file.Mode.Perm()&0o022 == 0 {
		return nil
	}
	return []check.Fault{{What: o.file.String() + " may be changed by others than its owner", Mend: check.Shell("chmod", "go-w", o.configFile)}}
}

func judgeHostname(o *own) []check.Fault {
	switch {
	case !strings.Contains(o.config.Hostname, "."):
		name := o.myhostname
		if !strings.Contains(name, ".") {
			name = ""
		}
		return []check.Fault{{What: fmt.Sprintf("hostname is %q, which is no full name", o.config.Hostname), Mend: o.setKey("hostname", name)}}
	case o.myhostname != "" && !strings.EqualFold(o.config.Hostname, o.myhostname):
		return []check.Fault{{What: fmt.Sprintf("hostname is %q, and Postfix's myhostname %q", o.config.Hostname, o.myhostname), Mend: o.setKey("hostname", o.myhostname)}}
	}
	return nil
}

// setKey is the command that sets a top-level key; "" if there is nothing to set.
func (o *own) setKey(key, value string) string {
	line := sedText(fmt.Sprintf("%s = %q", key, value))
	switch {
	case value == "":
		return ""
	case regexp.MustCompile(`(?m)^` + key + `[ \t]*=`).MatchString(o.text):
		return check.Shell("sed", "-i", `s|^`+key+`[ \t]*=.*|`+line+`|`, o.configFile)
	}
	return check.Shell("sed", "-i", "1i "+line, o.configFile)
}

// addTo is the command that adds a word to a top-level list. Where there is none, the first of several such commands makes it.
func (o *own) addTo(key, word string) string {
	pattern := "^" + key + `[ \t]*=[ \t]*\[`
	add := check.Shell("sed", "-i", "s|"+pattern+"|&"+sedText(fmt.Sprintf("%q", word))+", |", o.configFile)
	if regexp.MustCompile("(?m)" + pattern).MatchString(o.text) {
		return add
	}
	return "{ " + check.Shell("grep", "-q", pattern, o.configFile) + " || " + check.Shell("sed", "-i", "1i "+key+" = []", o.configFile) + "; } && " + add
}

// setTarget is the command that sets the target of [reinject]; an editor where the line is not to be found for sure.
func (o *own) setTarget(target string) string {
	line := sedText(fmt.Sprintf("target = %q", target))
	count := func(pattern string) int {
		return len(regexp.MustCompile(`(?m)^[ \t]*`+pattern).FindAllString(o.text, -1))
	}
	switch targets, sections := count(`target[ \t]*=`), count(`\[reinject\]`); {
	case targets == 1 && sections == 1:
		return check.Shell("sed", "-i", `s|^[ \t]*target[ \t]*=.*|`+line+`|`, o.configFile)
	case targets == 0 && sections == 1:
		return check.Shell("sed", "-i", `/^[ \t]*\[reinject\]/a `+line, o.configFile)
	case targets == 0 && !strings.Contains(o.text, "reinject"):
		return check.Shell("sed", "-i", `$a\`+"[reinject]\\n"+line, o.configFile)
	}
	return "${EDITOR:-vi} " + check.Shell(o.configFile)
}

// sedText writes a text for sed's i command, or to stand between s and its bars.
func sedText(s string) string { return strings.NewReplacer(`\`, `\\`, `|`, `\|`, `&`, `\&`).Replace(s) }

func judgeSecrets(o *own) []check.Fault {
	if o.config.SRS.Domain == "" {
		return []check.Fault{{What: "[srs] has no domain: senders of forwarded mail are not rewritten, and SPF fails at the next hop", Severity: check.Note}}
	}
	path := o.secrets.Path
	make := "(umask 077; openssl rand -base64 24 > " + check.Shell(path) + ") && " + check.Shell("chown", o.user, path)
	return o.judgePrivate(o.secrets, o.secretsErr, make)
}

func judgeKeys(o *own) []check.Fault {
	if len(o.keys) == 0 {
		return []check.Fault{{What: "there are no [[dkim.keys]]: nothing is signed, and From: cannot be rewritten", Severity: check.Note}}
	}
	var faults []check.Fault
	for _, k := range o.keys {
		faults = append(faults, o.judgePrivate(k.file, k.err, o.makeKey(k.KeyConfig))...)
	}
	return faults
}

// makeKey is the command that makes a key, and prints its record.
func (o *own) makeKey(k filter.KeyConfig) string {
	return check.Shell(o.program, "dkim", "genkey", "--domain", k.Domain, "--selector", k.Selector, "--file", k.File) +
		" && " + check.Shell("chown", o.user, k.File)
}

// judgePrivate judges a file that only the filter may read; make is the command that makes a new one. It takes the place of nothing that
// may be good: a new secret makes every SRS address that was given out invalid, and a new key has to be published first.
func (o *own) judgePrivate(f check.File, loadErr error, make string) []check.Fault {
	fault := func(what, mend string) []check.Fault { return []check.Fault{{What: what, Mend: mend}} }
	switch {
	case !o.isRoot && (errors.Is(f.Err, fs.ErrPermission) || errors.Is(loadErr, fs.ErrPermission)):
		return []check.Fault{{What: f.Path + " is not judged: it is not for you to read", Severity: check.Note}}
	case f.Missing() && f.Holders()[0].Missing():
		folder := f.Holders()[0].Path
		return fault(f.Path+" does not exist", check.Shell("install", "-d", "-m", "0711", folder)+" && "+make)
	case f.Missing():
		return fault(f.Path+" does not exist", make)
	case f.Err != nil:
		return fault(f.Err.Error(), "")
	case f.Mode.Perm()&0o027 != 0:
		return fault(f.String()+" may be used by others", check.Shell("chmod", "g-w,o=", f.Path))
	}
	for _, folder := range f.Holders() {
		if folder.Mode.Perm()&0o002 != 0 {
			return fault(f.Path+" may be replaced: anybody may write to "+folder.String(), check.Shell("chmod", "o-w", folder.Path))
		}
	}
	for _, u := range o.users {
		if barrier := f.Barrier(u, check.Read); barrier != nil {
			return fault(notFor(u, f, barrier), f.LetIn(barrier, u))
		}
	}
	if loadErr != nil {
		return fault(cause(loadErr).Error(), o.mendPrivate(f.Path, loadErr, make))
	}
	return nil
}

// mendPrivate is the command for a file that cannot be used; "" if that takes a person to decide.
func (o *own) mendPrivate(path string, loadErr error, make string) string {
	if text, err := dkim.ReadPrivateFile(path); err == nil && len(bytes.TrimSpace(text)) == 0 {
		return check.Shell("rm", path) + " && " + make
	}
	if !strings.Contains(loadErr.Error(), "openssl pkey") { // what the error says of a passphrase
		return ""
	}
	fresh := path + ".new"
	return "(umask 077; " + check.Shell("openssl", "pkey", "-in", path, "-out", fresh) + ") && " +
		check.Shell("chown", o.user, fresh) + " && " + check.Shell("mv", fresh, path)
}

func judgeTarget(o *own) []check.Fault {
	if o.config.Reinject.Target != "stdout:" {
		return nil
	}
	return []check.Fault{{What: `target "stdout:" of [reinject] is for trials by hand`,
		Mend: check.Shell("sed", "-i", `s|^\([ \t]*target[ \t]*=[ \t]*\)"stdout:"|\1"smtp://127.0.0.1:10026"|`, o.configFile)}}
}

func judgeLog(o *own) []check.Fault {
	if o.socket.Err == nil {
		return nil
	}
	err := o.socket.Err
	if o.socket.Missing() {
		err = errors.New("there is no " + o.socket.Path)
	}
	return []check.Fault{{What: "[log] socket: " + err.Error()}}
}
