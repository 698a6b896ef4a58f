// Images of a question: which ones may be sent, how they are shown, and how they are sent.

const TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const LARGEST = 5_000_000; // bytes: what the strictest of the large providers takes
const SHOWN = { width: 480, height: 320 };

/** What `accept` of a file input says. */
export const ACCEPTED = TYPES.join();

/** Why a file can't be sent, in a sentence; nothing when it can. */
export async function problemOf(file) {
  if (!TYPES.includes(file.type)) return `${file.name} is not a PNG, JPEG, WebP or GIF image.`;
  if (file.size > LARGEST) return `${file.name} has ${megabytes(file.size)}; an image may have ${megabytes(LARGEST)}.`;
  try {
    (await createImageBitmap(file)).close();
    return "";
  } catch {
    return `${file.name} can't be read as an image.`;
  }
}

const megabytes = (bytes) => `${(bytes / 1_000_000).toFixed(1)} MB`;

/** Show an image small. On a canvas, so that the page's policy need not allow any images but the server's. */
export function thumbnail(file) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", file.name);
  canvas.title = file.name;
  draw(canvas, file);
  return canvas;
}

async function draw(canvas, file) {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, SHOWN.width / image.width, SHOWN.height / image.height);
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
}

/** A message's content as OpenAI's API has it: the text alone, or text and images. */
export async function contentOf({ question, images }) {
  if (!images.length) return question;
  const urls = await Promise.all(images.map(dataUrl));
  const parts = urls.map((url) => ({ type: "image_url", image_url: { url } }));
  return question ? [{ type: "text", text: question }, ...parts] : parts;
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
