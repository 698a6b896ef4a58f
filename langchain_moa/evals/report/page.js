const figures = JSON.parse(document.getElementById("data").textContent);
const options = { responsive: true, displaylogo: false, displayModeBar: false };
document.querySelectorAll(".plot").forEach((place, i) => Plotly.newPlot(place, figures[i].data, figures[i].layout, options));
