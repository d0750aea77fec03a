package check

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"postmend/dkim"
	"postmend/filter/config"
	"postmend/postfix"
	"postmend/postfix/access"
)

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
			make = o.makeKey(k.Key)
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
func (o *own) makeKey(k config.Key) string {
	return shell(o.Program, "dkim", "genkey", "--domain", k.Domain, "--selector", k.Selector, "--file",
		k.File) +
		" && " + shell("chown", o.account.Name, k.File)
}

// judgePrivate judges a file that only the filter may read; make is the command that makes a new one, "" if
// that has to be a key with another selector. It never replaces a file that may be good: a new secret makes
// every SRS address that was given out invalid, and a new key has to be published first.
func (o *own) judgePrivate(f access.File, loadErr error, make string) []fault {
	wrong := func(what, mend string) []fault { return []fault{{What: what, Mend: mend, about: f.Path}} }
	switch {
	case !o.isRoot && (errors.Is(f.Err, fs.ErrPermission) || errors.Is(loadErr, fs.ErrPermission)):
		return []fault{{What: f.Path + " is not judged: you may not read it", Severity: Note, about: f.Path}}
	case f.IsMissing() && make == "":
		return wrong(f.Path+" does not exist: restore it from a backup. A new key needs another selector, "+
			"and its record in DNS before it signs: see \"Changing a key\" in docs/postfix.md", "")
	case f.IsMissing() && f.Holders()[0].IsMissing():
		folder := f.Holders()[0].Path
		return wrong(f.Path+" does not exist"+o.restore(f),
			o.account.First(shell("install", "-d", "-m", "0711", folder)+" && "+make))
	case f.IsMissing():
		return wrong(f.Path+" does not exist"+o.restore(f), o.account.First(make))
	case f.Err != nil:
		return wrong(f.Err.Error(), "")
	case f.Mode.Perm()&0o004 != 0:
		return wrong(f.String()+" may be read by every account"+o.nowKnown(f),
			shell("chmod", "g-w,o=", f.Path))
	case f.Mode.Perm()&0o027 != 0:
		return wrong(f.String()+" is accessible to other accounts", shell("chmod", "g-w,o=", f.Path))
	}
	if o.sharedBy != nil {
		if why, isNeeded := o.shared(f); isNeeded {
			mend, edit := o.copyOf(f)
			return []fault{{What: why + ": give postmend a copy", Mend: mend, Edit: edit, about: f.Path}}
		} else if why != "" {
			return wrong(why+o.nowKnown(f), o.account.First(shell("chown", o.account.Name+":", f.Path)+
				" && "+shell("chmod", "u=rw,go=", f.Path)))
		}
		if barrier := f.BarrierFor(o.account, access.MayRead); barrier != nil {
			return wrong(notFor(o.account, f, barrier), f.LetIn(o.account))
		}
	}
	isOpen := func(folder access.File) bool { return folder.Mode.Perm()&0o002 != 0 }
	if loadErr != nil && !slices.ContainsFunc(f.Holders(), isOpen) { // which another rule judges
		return wrong(detail(loadErr).Error(), o.account.First(o.mendPrivate(f.Path, loadErr, make)))
	}
	return nil
}

// restore says what to try before a new secret is made.
func (o *own) restore(f access.File) string {
	if o.isPrepared || f.Path != o.secrets.Path {
		return ""
	}
	return ": restore it from a backup if there is one. With a new secret, bounces to SRS addresses that " +
		"were made before are rejected"
}

// nowKnown says what has to follow where strangers could read a private file. It takes a person to decide
// when: a new key has to be published first, and bounces to addresses of the old secret would be rejected.
func (o *own) nowKnown(f access.File) string {
	if f.Path == o.secrets.Path {
		return ". After the mend, replace the secret, because somebody may have read it: see " +
			`"Changing the SRS secret" in docs/postfix.md`
	}
	return ". After the mend, replace the key, under a new selector, because somebody may have read it: " +
		`see "Changing a key" in docs/postfix.md`
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

// minSecret is the length that a secret should have, in octets.
const minSecret = 16

// judgeSecretLength judges the secrets as they stand in the file, a line each: the first one signs, and all
// verify.
func judgeSecretLength(o *own) []fault {
	if o.config.SRS.Domain == "" || o.secretsErr != nil {
		return nil
	}
	text, err := dkim.ReadPrivateFile(o.secrets.Path)
	if err != nil {
		return nil
	}
	var faults []fault
	n := 0
	for line := range bytes.Lines(text) {
		secret := bytes.TrimSpace(line)
		if len(secret) == 0 {
			continue
		}
		n++
		switch {
		case len(secret) >= minSecret:
		case n == 1:
			path, fresh := o.secrets.Path, o.secrets.Path+".new"
			faults = append(faults, fault{
				What: fmt.Sprintf("the first secret in %s has %s, and should have %d", path,
					postfix.Counted(len(secret), "octet"), minSecret),
				Mend: "(umask 077; { openssl rand -base64 24; cat " + shell(path) + "; } > " + shell(fresh) +
					") && " + shell("chown", "--reference="+path, fresh) + " && " + shell("mv", fresh, path)})
		default:
			faults = append(faults, fault{Severity: Note, What: fmt.Sprintf("secret %d in %s has %s: "+
				"take it out when the addresses made with it are older than max_age, or at once if forged "+
				"bounces arrive", n, o.secrets.Path, postfix.Counted(len(secret), "octet"))})
		}
	}
	return faults
}
