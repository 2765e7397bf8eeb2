package image

type flight struct{}
