package check

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"postmend/postfix"
	"postmend/postfix/access"
)

// judgeWritable finds files and folders of ours, and folders above them, that other accounts could change:
// these accounts could replace each file there by one of their own.
func judgeWritable(o *own) []fault {
	var owners, modes, elsewhere []string // shell words, and texts
	var texts []string
	for _, place := range o.places() {
		ownedBy, writers := o.strangersAt(place)
		if ownedBy == "" && writers == "" {
			continue
		}
		if !o.isOurs(place) {
			elsewhere = append(elsewhere, place.String()+", "+strings.TrimSpace(ownedBy+writers))
			continue
		}
		texts = append(texts, place.String()+", "+strings.TrimSpace(ownedBy+writers))
		if ownedBy != "" {
			owners = append(owners, place.Path)
		}
		if writers != "" {
			modes = append(modes, place.Path)
		}
	}
	var faults []fault
	if texts != nil {
		var commands []string
		if owners != nil {
			commands = append(commands, shell(append([]string{"chown", "root"}, owners...)...))
		}
		if modes != nil {
			commands = append(commands, shell(append([]string{"chmod", "go-w"}, modes...)...))
		}
		faults = one("other accounts can change "+postfix.ShortList(texts, mostNamed),
			strings.Join(commands, " && "))
	}
	if elsewhere != nil {
		faults = append(faults, fault{What: "other accounts can replace postmend's files in " +
			postfix.ShortList(elsewhere, mostNamed) +
			"; move those files to a folder of root's, such as /etc/postmend"})
	}
	return faults
}

// places are the configuration, the files that it names, and all folders above them. Other rules
// judge the secrets and the keys themselves.
func (o *own) places() []access.File {
	files := append([]access.File{o.file}, o.named...)
	private := []access.File{o.secrets}
	for _, k := range o.keys {
		private = append(private, k.file)
	}
	var places []access.File
	add := func(f access.File) {
		isKnown := func(known access.File) bool { return known.Path == f.Path }
		if f.Err == nil && f.Path != "" && !slices.ContainsFunc(places, isKnown) {
			places = append(places, f)
		}
	}
	for _, f := range files {
		add(f)
	}
	for _, f := range append(files, private...) {
		for _, folder := range f.Folders {
			add(folder)
		}
	}
	return places
}

// strangersAt tells who besides root and postmend's accounts can change a place. In a folder with the sticky
// bit only the owner of a file can replace it; but postmend uses no key and no secret from such a folder.
func (o *own) strangersAt(place access.File) (owner, writers string) {
	isReader := func(u *access.User) bool { return u.Name == access.OwnerOf(place) }
	if place.UID != 0 && access.OwnerOf(place) != o.account.Name &&
		!slices.ContainsFunc(o.readers, isReader) {
		owner = fmt.Sprintf("which belongs to %s ", nameOfUser(place))
	}
	if place.Mode&fs.ModeSticky != 0 && !o.holdsPrivate(place) {
		return owner, ""
	}
	members := access.GroupSharedBy(place.GID, o.account.Name)
	switch {
	case place.Mode.Perm()&0o002 != 0:
		writers = "to which every account may write"
	case place.Mode.Perm()&0o020 != 0 && len(members) > 0:
		writers = "to which " + postfix.ShortList(members, mostNamed) + " may write"
	case place.Mode.Perm()&0o020 != 0 && place.Mode.IsRegular():
		writers = "to which its group may write"
	}
	return owner, writers
}

// holdsPrivate tells whether a secret or a key is in a folder.
func (o *own) holdsPrivate(folder access.File) bool {
	isIn := func(f access.File) bool {
		return slices.ContainsFunc(f.Holders(),
			func(holder access.File) bool { return holder.Path == folder.Path })
	}
	return isIn(o.secrets) || slices.ContainsFunc(o.keys, func(k ownKey) bool { return isIn(k.file) })
}

// isOurs tells whether a place can be closed to others: the configuration's folder, what is in it, and the
// folders above it that are no homes.
func (o *own) isOurs(place access.File) bool {
	folder := filepath.Dir(o.ConfigFile)
	isBelow := place.Path == folder || strings.HasPrefix(place.Path, folder+"/")
	isAbove := strings.HasPrefix(folder, strings.TrimSuffix(place.Path, "/")+"/")
	return (isBelow || isAbove) && !place.IsHome() && !slices.Contains(sharedFolders, place.Path)
}

// nameOfUser is the owner's name, or number.
func nameOfUser(f access.File) string {
	if name := access.OwnerOf(f); name != "" {
		return name
	}
	return fmt.Sprintf("uid %d", f.UID)
}
