// A file that the page has made itself.

export function download(name: string, type: string, parts: BlobPart[]) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
