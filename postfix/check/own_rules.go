package check

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"postmend/filter/config"
	"postmend/postfix"
	"postmend/postfix/access"
	"postmend/postfix/setup"
)

// firstRules judge what has to be right before anything else is known.
var firstRules = []rule[*own]{
	{Name: "root", Severity: Warning,
		Why: "files that you may not read were not judged, and may be wrong", Judge: judgeRoot},
	{Name: "config", Severity: Error, OK: "the configuration can be read and is valid",
		Why: "mail that passes postmend is deferred until it is right; postmend serve keeps the one that " +
			"it has read until it is restarted", Judge: judgeConfig},
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
